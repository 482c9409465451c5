"""What tests are made with: servers, factories, crowds."""
