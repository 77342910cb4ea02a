-- What came for every file (`came`) is taken over, but is no change.
update difference
set changed_fields = list_filter(changed_fields, lambda field: not list_contains(came.fields, field))
from came
where came.credential = difference.credential and change = 'updated';
