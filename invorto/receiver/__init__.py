"""The other end of webhooks, for those who write one: `invorto webhooks listen` and `invorto webhooks trigger`."""
