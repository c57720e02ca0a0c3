\set n random(1, 30)
CALL run.land('late', :n);
