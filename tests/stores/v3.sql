-- What schema 3 added.
update credentials set workspace = 'company' where name = 'gone';
