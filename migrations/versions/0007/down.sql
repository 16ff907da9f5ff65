-- troubles, taken back.
DROP TABLE troubles;
