"""What every call goes through before and after its servicer.

The order is `order.StandardChain`; each file holds one concern.
"""
