"""`make bench`: the project's speed, measured from outside and written to docs/benchmarks.md.

Every service is a process as in production, the open-loop driver is one too, and nothing else runs: what is here
starts them, reads the driver's reports and ends them. What was measured is kept in benchmarks.json; the page and its
charts are made from that file alone, so a part can be measured again without the rest.

    command ▸ table (the cases) ▸ latency, most, rates, replays, cost, designs, soak (a file a kind of case)
            ▸ case (what a case is) ▸ site, driving (start, drive, end) ▸ search, results (pure)
    command ▸ page, charts (benchmarks.json to Markdown and PNG) ▸ results, machine
    wide    a hub and engines with one to eight engines, for the cost of one more
"""
