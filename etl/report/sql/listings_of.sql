select * exclude (credential, scope) from listings where credential = $credential order by started_at desc limit $limit;
