insert into file_inventory_notes values (%(name)s, %(notes)s)
on conflict (name) do update set notes = excluded.notes
returning null::bytea
