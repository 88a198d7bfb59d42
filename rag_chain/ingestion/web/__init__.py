"""Web pages as documents: addresses, sitemaps, robots.txt, and conditional fetching."""
