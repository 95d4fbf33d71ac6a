"""What stands where the web page will be."""

PLACEHOLDER = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Samebase</title>
</head>
<body>
<h1>Samebase</h1>
<p>This is the gateway of a to-do system. It has no web page yet; its HTTP interfaces work:
the document <a href="/openapi.json">/openapi.json</a> describes them.</p>
</body>
</html>
"""
