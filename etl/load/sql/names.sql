select name from credentials;
