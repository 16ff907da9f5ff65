-- budgets, taken back.
DROP TABLE appended;
