package graph

import (
	"context"

	"github.com/coaidev/coai/models"
)

func (r query) Usage(
	ctx context.Context, startDate, endDate *string, granularity *models.UsageGranularity, timezone *string,
	model, userID, channelID, apiKeyID []string, groupBy []models.UsageDimension, compare *models.UsageComparison, limit *int, page *string,
) (*models.UsageReport, error) {
	return r.analytics.Report(ctx, viewer(ctx), models.UsageQuery{
		StartDate: startDate, EndDate: endDate, Granularity: granularity, Timezone: timezone,
		Models: model, UserIDs: userID, ChannelIDs: channelID, APIKeyIDs: apiKeyID, GroupBy: groupBy, Compare: compare, Limit: limit, Page: page,
	})
}
