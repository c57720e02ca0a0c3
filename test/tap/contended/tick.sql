SELECT * FROM sync.tick_batch(500, run.clock());
