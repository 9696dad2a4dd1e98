"""`python3 -m deploy`, which `make up` and its companions run: each module by what it talks to."""
