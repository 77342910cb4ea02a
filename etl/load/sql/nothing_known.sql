select credential
from batch
where credential not in (select credential from listings where records > 0);
