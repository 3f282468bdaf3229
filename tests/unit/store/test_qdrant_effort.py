import pytest

from forebay.settings import IndexSettings
from forebay.store.qdrant_effort import search_params


@pytest.mark.parametrize(("shards", "share", "ef"), [(1, 1.0, 80), (4, 1.0, 40), (4, 0.5, 160), (1, 0.0, 720)])
def test_a_graph_is_walked_further_where_a_filter_takes_nodes_out_of_it(shards, share, ef):
    assert search_params(40, IndexSettings(), shards, share).hnsw_ef == ef


@pytest.mark.parametrize(("shards", "oversampling"), [(1, 6.0), (4, 1.5), (100, 1.0)])
def test_shards_that_give_their_best_each_rescore_less(shards, oversampling):
    assert search_params(40, IndexSettings(quantization="binary"), shards).quantization.oversampling == oversampling
