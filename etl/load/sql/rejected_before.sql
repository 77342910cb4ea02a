-- Files that a person kept stay doubtful until a listing has them, or the person agrees.
update credentials set scope = '"rejected"' where name = $credential;
