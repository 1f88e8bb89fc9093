"""Where work runs: ``local`` in this process and its workers, ``ray`` on the nodes of a cluster."""
