create or replace temp view shown_files as from files;
