"""Every message between the processes of one pool, as a class.

::

    client ───────► server        ClientToServer     ServerToClient, ServerAnswer     ``client``
    command line ─► server        CommandToServer    ServerAnswer                     ``client``
    agent ────────► server        AgentToServer      ServerToAgent, AgentAnswer       ``agent``
    agent ────────► worker        AgentToWorker      WorkerToAgent                    ``worker``
    agent ────────► fork-server   AgentToForkServer  ForkServerToAgent                ``worker``

Each direction is one connection, which keeps the order, and neither doubles nor loses anything while it stands. So
"late" means that the network or the other process is slow, and "lost" that the connection has ended with the message
on its way; the end itself is an event, and each docstring says what it leaves behind. "Twice" means that the sender
says it again.

A question carries a number, and its answer the same one (:class:`Question`, :class:`Answer`). How a message becomes
bytes is said in ``transport.packing``. Fields may be appended to a class, with a default, and never moved: processes of
another version have to understand at least :class:`AgentHello` and :class:`NotWanted`. The number of a question or an
answer is its first field, so that it stays where it is; the class has to be ``kw_only`` for that.
"""
