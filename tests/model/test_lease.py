"""What a call claims."""

from __future__ import annotations

from invorto.model.lease import Claim, Level


def test_a_claim_knows_whose_it_is() -> None:
    """Tenant and campaign are those of its levels; a call of no campaign has none."""
    levels = (Level("global", "", 0), Level("tenant", "t_1", 5))
    claim = Claim(call_id="c_1", ticket="1", levels=levels)
    assert (claim.tenant_id, claim.campaign_id) == ("t_1", None)
    claim = Claim(call_id="c_1", ticket="1", levels=(*levels, Level("campaign", "cmp_1", 5)))
    assert claim.campaign_id == "cmp_1"
    assert Claim(call_id="c_1", ticket="1", levels=levels[:1]).tenant_id == ""
