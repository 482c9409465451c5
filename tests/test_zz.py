import pytest
from collections import Counter
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests import test_order_states as t
C=Counter()
class S(t.Shop):
    def teardown(self):
        C.update(["run"]); C.update("st-"+x for x in t.Order.objects.values_list("status",flat=True))
        for l in t.OrderLine.objects.filter(returned__gt=0): C.update([f"ret{'<' if l.returned<l.quantity else '='}"])
        super().teardown()
@pytest.mark.django_db
def test_big():
    run_state_machine_as_test(S, settings=settings(max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)))
    print(C)
