select not exists (from listings where credential = $credential and records > 0) as nothing_known;
