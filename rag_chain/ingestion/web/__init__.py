"""Documents of web sites: addresses, sitemaps, robots.txt, and fetching only what changed."""
