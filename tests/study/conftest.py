"""What several tests of study look at and none changes."""

import pytest

from qcourse.study.places import write_seven


@pytest.fixture(scope="session")
def seven(tmp_path_factory):
    """The shipped model in seven files (study.places)."""
    return write_seven(tmp_path_factory.mktemp("seven"))
