CALL run.housekeeping();
