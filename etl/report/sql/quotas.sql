from quota_use order by used desc, credential;
