insert into rule_results values ($run_id, $rule, $severity, $message, $offenders, $examples, $error);
