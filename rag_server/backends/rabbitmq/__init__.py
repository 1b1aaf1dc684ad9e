"""RabbitMQ: the job queue and the events of a distributed set-up. Works with 3.10 and with 4."""
