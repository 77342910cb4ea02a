select (select notes from file_inventory_notes where name = %(name)s)
