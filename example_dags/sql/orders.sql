-- The orders of the last seven days, or from params.orders_since on: those that were sent before are known by the state.
-- A run that was triggered without a date has no data interval (and no `ds`); it has run_after.
{% set today = (dag_run.data_interval_end or dag_run.run_after) | ds %}
SELECT id AS order_id, customer_id, product, quantity, amount_usd, currency, ordered_at
FROM orders
WHERE ordered_at >= '{{ params.orders_since or macros.ds_add(today, -7) }}'
