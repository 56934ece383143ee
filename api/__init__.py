"""The service: HTTP, websocket, web page and command line of a `gpu_engine.Session`.

Floor 6: uses the engine through `import gpu_engine as ge` and public names only; nothing imports this package but
`Session.serve`, lazily.

| file | owns |
| --- | --- |
| app | the Flask application and what hangs on it |
| errors | which error becomes which status and JSON |
| wire | JSON and Arrow of tables and values |
| queries | the grammar of a query in JSON, for HTTP and websocket alike |
| cubes, tables, page | routes |
| live, hub, rounds | the websocket: protocol; broadcaster; what one look at all groups pulls and encodes |
| groups, feeds, channel | subscriptions that advance together; shared queries; one socket's way out |
| client, folding | for users: a client of the websocket; the cells it keeps |
| server, cli | the threaded server; the `gpu-engine` command |
"""
