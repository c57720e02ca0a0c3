\set executor random(1, 5)
\set batch random_exponential(1, 100, 3.0)
CALL run.work('executor' || :executor, :batch);
