"""The paper's experiments: each table and figure as a command, its numbers beside ours."""
