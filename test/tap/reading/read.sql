\set n random_exponential(1, 500, 3.0)
CALL run.read(:n);
