-- content-addressed code. Statements end with a semicolon at the end of a line.

DROP VIEW git_cache;
DROP TABLE git_trees;
DROP TABLE git_entries;
DROP TABLE git_blobs;
