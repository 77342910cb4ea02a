-- A credential's run touches a small share of the files of a lake; a lake of many credentials has not many small files.
alter table files set partitioned by (bucket(16, credential));
alter table file_changes set partitioned by (bucket(16, credential));
