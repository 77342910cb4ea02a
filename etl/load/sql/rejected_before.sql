-- Files that a person kept stay doubtful until a listing has them, or the person agrees.
update credentials set scope = '{"rejected":' || scope || '}'
where name = $credential and not starts_with(scope::varchar, '{"rejected":');
