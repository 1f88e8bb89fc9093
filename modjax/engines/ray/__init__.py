"""The nodes of a Ray cluster: workers that train, a pool that searches, what keeps both right when some die."""
