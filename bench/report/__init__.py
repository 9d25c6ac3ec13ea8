"""From records to pages: statistics, ranks, tables, studies. Nothing here needs torch."""
