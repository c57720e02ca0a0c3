\set connection random(1, :connections)
SELECT sync.pause(:connection, 'contended run');
SELECT sync.resume(:connection);
