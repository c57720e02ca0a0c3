-- From 0.1.0: what scripts/update-script.py cannot derive. CONTRIBUTING.md says how to write it.

-- after the functions:
