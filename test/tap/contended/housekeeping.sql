SELECT sync._housekeeping(run.clock());
