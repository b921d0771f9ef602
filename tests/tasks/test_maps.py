"""The part discovery table of a page: its rows, and the ceiling in words."""

from partrep.tasks.maps import discovery_page

SCORES = dict(nmi_foreground=0.1, ari_foreground=0.2, ami_foreground=0.3, ami_all=0.4, keypoint_error=9.0, iou_mean=0.5)


def test_the_ceiling_is_no_row_but_said_below():
    best = SCORES | dict(ami_foreground=0.912, iou_mean=0.834)
    page = discovery_page({"model": SCORES, "grid": SCORES, "ceiling": best})
    assert [row.name for row in page.rows] == ["model", "grid"] and page.rows[0].reference
    assert "score AMI 0.91 and part IoU 0.83." in page.note
    assert "score AMI" not in discovery_page({"model": SCORES}).note and discovery_page({}) is None
