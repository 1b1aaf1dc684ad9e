"""Reading of scanned pages: a page is rendered, a recogniser finds lines in the picture, they become `Line`s.

`scan_reader.ScanReader` is the way in. Only `rapid` needs the extra `ocr`, and imports it.
"""
