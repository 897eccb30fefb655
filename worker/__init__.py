"""The work: submit, poll, finalize, notify, sweep."""
