"""The auditor: replays a whole log, recomputes everything in it, and holds it to its word.

source    where a log is read from: its URL, or a folder that holds its tiles
follow    entries in, state out: rules, leaves, tiles, roots
audit     one head after the other, from one source or several: consistent, complete, under the rules
convict   from something found wrong to a file that proves it (`ledger.evidence`)
state     where the audit stopped, so that the next run goes on there
watch     what an audit cannot decide and people should know: bindings, entries of watched issuers
"""
