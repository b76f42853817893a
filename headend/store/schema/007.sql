-- Replaced at merge: this number belongs to another change.
SELECT 1;
