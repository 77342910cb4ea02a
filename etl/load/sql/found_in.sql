select name, provider from credentials where workspace = $workspace and active order by name;
