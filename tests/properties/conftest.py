"""Assertions of the modules that the properties share explain themselves as those of tests do."""

import pytest

pytest.register_assert_rewrite("tests.properties.trial", "tests.properties.subscribers", "tests.properties.market")
