update difference
set changed_fields = list_filter(changed_fields, lambda field: not list_contains($came, field))
where change = 'updated';
