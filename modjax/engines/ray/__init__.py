"""The Ray engine: workers that train, tasks that search for modules, and recovery when workers or nodes die."""
